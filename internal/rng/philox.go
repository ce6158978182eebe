package rng

import "math/bits"

// block is the 128-bit counter, and the output, of the generator: two 64-bit halves whose 32-bit words, low first, are
// the four words of the paper.
type block [2]uint64

// philox encrypts the counter c under the key: ten rounds of Philox4x32.
func philox(c block, key uint64) block {
	c0, c1, c2, c3 := uint32(c[0]), uint32(c[0]>>32), uint32(c[1]), uint32(c[1]>>32)
	k0, k1 := uint32(key), uint32(key>>32)
	for range 10 {
		h0, l0 := bits.Mul32(0xD2511F53, c0)
		h1, l1 := bits.Mul32(0xCD9E8D57, c2)
		c0, c1, c2, c3 = h1^c1^k0, l1, h0^c3^k1, l0
		k0 += 0x9E3779B9 // golden ratio
		k1 += 0xBB67AE85 // √3 − 1
	}
	return block{uint64(c0) | uint64(c1)<<32, uint64(c2) | uint64(c3)<<32}
}

// purpose separates what is generated under one seed and stream.
type purpose uint64

const (
	normals purpose = iota
	uniforms
	words
	gammas
)

func key(seed, stream uint64, p purpose) uint64 { return philox(block{stream, uint64(p)}, seed)[0] }
