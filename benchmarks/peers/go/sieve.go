// SPDX-License-Identifier: BSL-1.0

package main

// Row 7: the prime sieve, a chain with one goroutine for each prime. The numbers end with the last prime that is
// asked for, so that the chain closes from its head and leaves nothing behind.
func sieve(primes, capacity int) {
	ch := make(chan int, capacity)
	go func(out chan<- int, last int) {
		for i := 2; i <= last; i++ {
			out <- i
		}
		close(out)
	}(ch, nthPrime(primes))
	found := 0
	for {
		prime, ok := <-ch
		if !ok {
			break
		}
		found++
		next := make(chan int, capacity)
		go func(in <-chan int, out chan<- int) {
			for i := range in {
				if i%prime != 0 {
					out <- i
				}
			}
			close(out)
		}(ch, next)
		ch = next
	}
	if found != primes {
		panic("wrong number of primes")
	}
}

func nthPrime(n int) int {
	for i := 2; ; i++ {
		prime := true
		for d := 2; d*d <= i; d++ {
			if i%d == 0 {
				prime = false
				break
			}
		}
		if prime {
			if n--; n == 0 {
				return i
			}
		}
	}
}
