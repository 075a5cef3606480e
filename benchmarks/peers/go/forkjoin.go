// SPDX-License-Identifier: BSL-1.0

package main

import (
	"math"
	"sync"
)

// Row 8: skynet, a tree of goroutines, ten to a node, that sum the numbers of their leaves.
func skynet(sum chan<- int, number, size int) {
	if size == 1 {
		sum <- number
		return
	}
	children := make(chan int)
	for i := 0; i < 10; i++ {
		go skynet(children, number+i*(size/10), size/10)
	}
	total := 0
	for i := 0; i < 10; i++ {
		total += <-children
	}
	sum <- total
}

func skynetRoot(size int) {
	sum := make(chan int)
	go skynet(sum, 0, size)
	if <-sum != size*(size-1)/2 {
		panic("wrong sum")
	}
}

// skynetSize is a power of ten.
func skynetSize(s sizes) int {
	return int(math.Pow(10, math.Round(6+math.Log10(float64(s)))))
}

// Row 13: Fibonacci's numbers, both children of each call spawned.
func fib(n int) int {
	if n < 2 {
		return n
	}
	var a, b int
	var wg sync.WaitGroup
	wg.Add(2)
	go func() {
		a = fib(n - 1)
		wg.Done()
	}()
	go func() {
		b = fib(n - 2)
		wg.Done()
	}()
	wg.Wait()
	return a + b
}

// fibSize is smaller by one for each factor of the golden ratio.
func fibSize(s sizes) int { return 30 + int(math.Round(math.Log(float64(s))/math.Log(math.Phi))) }
