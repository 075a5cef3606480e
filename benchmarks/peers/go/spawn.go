// SPDX-License-Identifier: BSL-1.0

package main

import (
	"runtime"
	"sync"
)

// Row 1: one parent spawns all and joins them.
func spawnAll(s sizes) int {
	n := s.of(1_000_000)
	spawnAndJoin(n)
	return n
}

// Row 1b: the same, a thousand at a time.
func spawnBatches(s sizes) int {
	const batch = 1000
	n := s.of(1000)
	for i := 0; i < n; i++ {
		spawnAndJoin(batch)
	}
	return n * batch
}

func spawnAndJoin(n int) {
	var wg sync.WaitGroup
	for i := 0; i < n; i++ {
		wg.Add(1)
		go wg.Done()
	}
	wg.Wait()
}

// Row 1c: spawn one, join it, again.
func spawnOne(s sizes) int {
	n := s.of(1_000_000)
	for i := 0; i < n; i++ {
		spawnAndJoin(1)
	}
	return n
}

// Row 12c: eight goroutines that do nothing but yield.
func yields(s sizes) int {
	const goroutines = 8
	each := s.of(500_000)
	var wg sync.WaitGroup
	for g := 0; g < goroutines; g++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < each; i++ {
				runtime.Gosched()
			}
		}()
	}
	wg.Wait()
	return goroutines * each
}
