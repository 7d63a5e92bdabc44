package main

import (
	"errors"
	"os"
)

func halt(*os.Process, bool) error { return errors.New("processes can't be stopped here") }
