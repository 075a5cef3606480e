// SPDX-License-Identifier: BSL-1.0

// The work of runnel's benchmarks, in Go. Usage:
//
//	peer ROW THREADS REPETITIONS [SCALE]
//
// prints a line of JSON for each repetition of the row, on THREADS threads. SCALE (1 unless given) multiplies the
// sizes. docs/benchmarks.md says what each row is.
package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"time"
)

// sizes scales the size of a row.
type sizes float64

func (s sizes) of(n int) int { return int(math.Max(1, math.Round(float64(n)*float64(s)))) }

// out prints what a repetition of a row came to.
type out struct{ threads int }

func (o out) put(row string, value float64, unit string) {
	fmt.Printf(`{"row": "%s", "peer": "go", "threads": %d, "value": %.6g, "unit": "%s"}`+"\n", row, o.threads, value, unit)
}

func perOp(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / float64(n) }
func ms(d time.Duration) float64           { return float64(d.Nanoseconds()) / 1e6 }

// ns makes a row of a function that says how many operations it does.
func ns(row string, f func(sizes) int) func(out, sizes) {
	return func(o out, s sizes) {
		start := time.Now()
		n := f(s)
		o.put(row, perOp(time.Since(start), n), "ns")
	}
}

// total makes a row of a function whose whole time counts.
func total(row string, f func(sizes)) func(out, sizes) {
	return func(o out, s sizes) {
		start := time.Now()
		f(s)
		o.put(row, ms(time.Since(start)), "ms")
	}
}

var rows = map[string]func(out, sizes){
	"1":   ns("1", spawnAll),
	"1b":  ns("1b", spawnBatches),
	"1c":  ns("1c", spawnOne),
	"2":   ns("2", pingPong),
	"3":   ns("3", func(s sizes) int { return pipes(s.of(5_000_000), 1, 128) }),
	"4":   ns("4", func(s sizes) int { return pipes(s.of(4_000_000), 4, 128) }),
	"5":   ns("5", func(s sizes) int { return pipes(s.of(2_000_000), 4, 0) }),
	"6":   ns("6", func(s sizes) int { return selectOver2(s.of(1<<20), 0) }),
	"6x":  ns("6x", func(s sizes) int { return selectOver8(s.of(1<<20), 0) }),
	"6b":  ns("6b", func(s sizes) int { return selectOver2(s.of(1<<20), 128) }),
	"6bx": ns("6bx", func(s sizes) int { return selectOver8(s.of(1<<20), 128) }),
	"7":   total("7", func(s sizes) { sieve(s.of(2000), 0) }),
	"7b":  total("7b", func(s sizes) { sieve(s.of(2000), 128) }),
	"8":   total("8", func(s sizes) { skynetRoot(skynetSize(s)) }),
	"9":   parked,
	"10":  sleeps,
	"10b": ns("10b", setAndCancel),
	"10t": tickers,
	"11":  cancelShared,
	"11b": cancelDerived,
	"12":  ns("12", mutexWithYield),
	"12b": ns("12b", mutex),
	"12c": ns("12c", yields),
	"12d": ns("12d", semaphore),
	"13":  total("13", func(s sizes) { fib(fibSize(s)) }),
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: peer ROW THREADS REPETITIONS [SCALE]")
	os.Exit(2)
}

func main() {
	if len(os.Args) < 4 || len(os.Args) > 5 {
		usage()
	}
	row, known := rows[os.Args[1]]
	threads, err1 := strconv.Atoi(os.Args[2])
	repetitions, err2 := strconv.Atoi(os.Args[3])
	scale := 1.0
	var err3 error
	if len(os.Args) == 5 {
		scale, err3 = strconv.ParseFloat(os.Args[4], 64)
	}
	if !known || err1 != nil || err2 != nil || err3 != nil || threads < 1 || repetitions < 1 || !(scale > 0) {
		usage()
	}
	runtime.GOMAXPROCS(threads)
	for i := 0; i < repetitions; i++ {
		row(out{threads}, sizes(scale))
	}
}
