// SPDX-License-Identifier: BSL-1.0

package main

import "sync"

// Row 2: a value goes to and fro between two goroutines; an operation is a round trip.
func pingPong(s sizes) int {
	n := s.of(1_000_000)
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
		close(pong)
	}()
	for i := 0; i < n; i++ {
		ping <- i
		<-pong
	}
	close(ping)
	<-pong
	return n
}

// Rows 3, 4 and 5: as many producers as consumers on one channel; an operation is an int that got through.
func pipes(n, pairs, capacity int) int {
	ch := make(chan int, capacity)
	each := n / pairs
	var producers, consumers sync.WaitGroup
	var received [64]struct {
		count int
		_     [120]byte
	}
	for p := 0; p < pairs; p++ {
		producers.Add(1)
		go func() {
			defer producers.Done()
			for i := 0; i < each; i++ {
				ch <- i
			}
		}()
		consumers.Add(1)
		go func(mine *int) {
			defer consumers.Done()
			count := 0
			for range ch {
				count++
			}
			*mine = count
		}(&received[p].count)
	}
	producers.Wait()
	close(ch)
	consumers.Wait()
	sum := 0
	for p := range received {
		sum += received[p].count
	}
	if sum != each*pairs {
		panic("an element was lost")
	}
	return sum
}
