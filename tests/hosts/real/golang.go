// A Go library: its runtime has handlers of its own, signals its threads, and has stacks of its own.
package main

/*
static int crash_in_c(void) { return *(volatile int *)8; }
static void spin_in_c(void) { for (;;) __asm__ volatile(""); }
*/
import "C"

import (
	"runtime"
	"time"
)

var kept []byte
var nothing *int

//export Add
func Add(one, other C.int) C.int { return one + other }

// A nil dereference that Go itself recovers from: it is a fault, and Go's handler makes a panic of it.
//
//export Recovered
func Recovered(times C.int) (caught C.int) {
	for i := 0; i < int(times); i++ {
		func() {
			defer func() {
				if recover() != nil {
					caught++
				}
			}()
			*nothing = 1
		}()
	}
	return caught
}

//export Divided
func Divided(by C.int) (caught C.int) {
	defer func() {
		if recover() != nil {
			caught = 1
		}
	}()
	return 1 / by
}

//export NilDereference
func NilDereference() { *nothing = 1 }

//export Panic
func Panic() { panic("of Go") }

//export CrashInC
func CrashInC() C.int { return C.crash_in_c() }

//export SpinInC
func SpinInC() { C.spin_in_c() }

//export Spin
func Spin() {
	for i := 0; ; i++ {
		kept = nil
	}
}

// Goroutines on all threads, collections, and preemption of loops (by SIGURG).
//
//export Work
func Work(milliseconds C.int) C.int {
	end := time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
	done := make(chan int)
	for i := 0; i < 4; i++ {
		go func() {
			turns := 0
			for time.Now().Before(end) {
				block := make([]byte, 1<<14)
				turns += len(block)
			}
			done <- turns
		}()
	}
	all := 0
	for i := 0; i < 4; i++ {
		all += <-done
	}
	runtime.GC()
	if all > 0 {
		return 1
	}
	return 0
}

// Recursion that Go grows a stack for.
//
//export Deep
func Deep(depth C.int) C.int {
	if depth == 0 {
		return 0
	}
	var block [64]int
	block[int(depth)%64] = int(depth)
	return Deep(depth-1) + 1 + C.int(block[(int(depth)+1)%64])
}

func main() {}
