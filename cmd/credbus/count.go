package main

import "fmt"

// count is a number of things. The name of the thing gets an s unless there is one.
func count[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// was is the verb that goes with count.
func was[N int | int64](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
