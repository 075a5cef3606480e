// SPDX-License-Identifier: BSL-1.0

package main

import "sync"

func feed(n, capacity, channels int, done *sync.WaitGroup) []chan int {
	from := make([]chan int, channels)
	for i := range from {
		from[i] = make(chan int, capacity)
		done.Add(1)
		go func(out chan int) {
			defer done.Done()
			for k := 0; k < n/channels; k++ {
				out <- k
			}
		}(from[i])
	}
	return from
}

// Rows 6 and 6b: one goroutine selects over channels that each have a producer; an operation is an int that got through.
func selectOver2(n, capacity int) int {
	var done sync.WaitGroup
	c := feed(n, capacity, 2, &done)
	total, sum := n/2*2, 0
	for i := 0; i < total; i++ {
		select {
		case v := <-c[0]:
			sum += v
		case v := <-c[1]:
			sum += v
		}
	}
	done.Wait()
	if sum != 2*(n/2*(n/2-1)/2) {
		panic("an element was lost")
	}
	return total
}

// Rows 6x and 6bx.
func selectOver8(n, capacity int) int {
	var done sync.WaitGroup
	c := feed(n, capacity, 8, &done)
	total, sum := n/8*8, 0
	for i := 0; i < total; i++ {
		select {
		case v := <-c[0]:
			sum += v
		case v := <-c[1]:
			sum += v
		case v := <-c[2]:
			sum += v
		case v := <-c[3]:
			sum += v
		case v := <-c[4]:
			sum += v
		case v := <-c[5]:
			sum += v
		case v := <-c[6]:
			sum += v
		case v := <-c[7]:
			sum += v
		}
	}
	done.Wait()
	if sum != 8*(n/8*(n/8-1)/2) {
		panic("an element was lost")
	}
	return total
}
