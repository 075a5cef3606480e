// SPDX-License-Identifier: BSL-1.0

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// residentBytes is the memory of this process that is in RAM.
func residentBytes() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	var size, resident int
	if err == nil {
		_, err = fmt.Sscan(string(text), &size, &resident)
	}
	if err != nil {
		panic(err)
	}
	return float64(resident) * float64(os.Getpagesize())
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// park starts n goroutines that each count in, wait and are joined by the group, and returns once all wait.
func park(n int, wait func(i int)) *sync.WaitGroup {
	wg := new(sync.WaitGroup)
	var here atomic.Int64
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			here.Add(1)
			wait(i)
		}(i)
	}
	for here.Load() < int64(n) {
		runtime.Gosched()
	}
	time.Sleep(20 * time.Millisecond) // the last ones are on their way from the counter to the wait
	return wg
}

// Rows 9 and 9b: what a parked goroutine takes, and what waking and finishing it takes. The first repetition of a
// process is the one that tells the memory.
func parked(o out, s sizes) {
	n := s.of(1_000_000)
	debug.FreeOSMemory()
	gate := make(chan int)
	before := residentBytes()
	wg := park(n, func(int) { <-gate })
	o.put("9", (residentBytes()-before)/float64(n), "bytes")
	start := time.Now()
	close(gate)
	wg.Wait()
	o.put("9b", perOp(time.Since(start), n), "ns")
}

// Row 10: sleeps of 1 to 100 ms, started as fast as can be.
func sleeps(o out, s sizes) {
	n := s.of(100_000)
	start, cpu := time.Now(), cpuTime()
	var wg sync.WaitGroup
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func(d time.Duration) {
			time.Sleep(d)
			wg.Done()
		}(time.Duration(i%100+1) * time.Millisecond)
	}
	wg.Wait()
	o.put("10", ms(time.Since(start)), "ms")
	o.put("10cpu", ms(cpuTime()-cpu), "ms")
}

// Row 10t: ten thousand tickers of 20 ms, 10 ticks each.
func tickers(o out, s sizes) {
	const ticks = 10
	n := s.of(10_000)
	cpu := cpuTime()
	var wg sync.WaitGroup
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func() {
			t := time.NewTicker(20 * time.Millisecond)
			for j := 0; j < ticks; j++ {
				<-t.C
			}
			t.Stop()
			wg.Done()
		}()
	}
	wg.Wait()
	o.put("10t", perOp(cpuTime()-cpu, n*ticks), "ns")
}

// Row 10b: a timeout is set and does not strike.
func setAndCancel(s sizes) int {
	n := s.of(1_000_000)
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i := 0; i < n; i++ {
		_, done := context.WithTimeout(parent, time.Hour)
		done()
	}
	return n
}

// Row 11: everybody waits for the end of one context.
func cancelShared(o out, s sizes) {
	ctx, cancel := context.WithCancel(context.Background())
	wg := park(s.of(100_000), func(int) { <-ctx.Done() })
	start := time.Now()
	cancel()
	wg.Wait()
	o.put("11", ms(time.Since(start)), "ms")
}

// Row 11b: each waits for the end of its own context, which is derived from the one that is cancelled.
func cancelDerived(o out, s sizes) {
	parent, cancel := context.WithCancel(context.Background())
	wg := park(s.of(100_000), func(int) {
		ctx, done := context.WithCancel(parent)
		defer done()
		<-ctx.Done()
	})
	start := time.Now()
	cancel()
	wg.Wait()
	o.put("11b", ms(time.Since(start)), "ms")
}
