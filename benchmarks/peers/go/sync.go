// SPDX-License-Identifier: BSL-1.0

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// takeTurns runs eight goroutines that each do turn so often; an operation is a turn.
func takeTurns(n int, turn func(turns *int64)) int {
	const goroutines = 8
	turns, each := int64(0), n/goroutines
	var all sync.WaitGroup
	for i := 0; i < goroutines; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for k := 0; k < each; k++ {
				turn(&turns)
			}
		}()
	}
	all.Wait()
	if turns != int64(each*goroutines) {
		panic("a turn was lost")
	}
	return int(turns)
}

// Row 12: a mutex is held over a yield. Row 12b: without.
func mutexWithYield(s sizes) int {
	var m sync.Mutex
	return takeTurns(s.of(2_000_000), func(turns *int64) {
		m.Lock()
		*turns++
		runtime.Gosched()
		m.Unlock()
	})
}
func mutex(s sizes) int {
	var m sync.Mutex
	return takeTurns(s.of(8_000_000), func(turns *int64) {
		m.Lock()
		*turns++
		m.Unlock()
	})
}

// Row 12d: two at a time of eight; a buffered channel is the standard library's semaphore.
func semaphore(s sizes) int {
	slots := make(chan struct{}, 2)
	return takeTurns(s.of(2_000_000), func(turns *int64) {
		slots <- struct{}{}
		atomic.AddInt64(turns, 1)
		runtime.Gosched()
		<-slots
	})
}
