package safetensors_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/ebb-go/ebb/internal/safetensors"
)

func Example() {
	var file bytes.Buffer
	err := safetensors.Write(&file, map[string]string{"step": "1000"}, []safetensors.Tensor{
		{Name: "layer.weight", Dtype: safetensors.BF16, Shape: []int{2, 2}, Float32: []float32{1, 2, 3, 1.0 / 3}},
		{Name: "layer.bias", Dtype: safetensors.F32, Shape: []int{2}, Float32: []float32{-1, 1}},
	})
	if err != nil {
		log.Fatal(err)
	}

	f, err := safetensors.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		values := make([]float64, info.Len())
		if err := safetensors.Read(f, name, values); err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, info.Dtype, info.Shape, values)
	}
	fmt.Println(f.Metadata())
	// Output:
	// layer.bias F32 [2] [-1 1]
	// layer.weight BF16 [2 2] [1 2 3 0.333984375]
	// map[step:1000]
}
