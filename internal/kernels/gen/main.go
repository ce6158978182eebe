// Command gen writes the assembly of package kernels, one group of functions at a time:
//
//	go run . -group gemm -out ../zgemm_amd64.s -stubs ../zgemm_amd64.go -pkg kernels
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	groups := map[string]func(){
		"gemm":        gemm,
		"elementwise": elementwise,
		"rows":        rows,
	}
	group := flag.String("group", "", "gemm, elementwise or rows")
	flag.Parse()
	emit, ok := groups[*group]
	if !ok {
		log.Fatalf("gen: unknown group %q", *group)
	}
	emit()
	emitKernels()
	emitConstants(*group)
	Generate()
}
