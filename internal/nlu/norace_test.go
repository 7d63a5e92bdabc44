//go:build !race

package nlu

const raced = false
