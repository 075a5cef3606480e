module runnel/benchmarks/peers/go

go 1.19
