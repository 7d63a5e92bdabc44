//go:build !race

package prebuilt

const raced = false
