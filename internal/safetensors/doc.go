// Package safetensors reads and writes the safetensors format: named tensors behind a JSON header, the form in which
// most trained weights are passed around.
//
//	8 bytes   N, the length of the header, little-endian
//	N bytes   {"__metadata__": {…}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}, padded with spaces
//	the rest  the tensors' bytes, little-endian, row-major, one after another with no gap
//
// Opening a file reads its header and nothing else; each tensor is read when asked for, straight into the caller's
// slice. Every number in a header is checked against the size of the file before it is believed, so a file made to do
// harm costs memory in proportion to its own size and ends in an error that says what is wrong and where.
//
// A tensor is read as float32 or float64 whatever it is stored as. Reading rounds only where an F64 tensor meets a
// float32 slice; an integer that the slice's type cannot hold exactly is an error, and so is, reading or writing, a
// finite number that would become infinite.
//
// [Write] lays tensors out as the reference implementation does: wider dtypes first, then by name, so that every
// tensor lies at a multiple of its element size and readers that map the file need no copy. Equal input gives equal bytes.
//
// Source: the format's description and reference implementation, Hugging Face safetensors 0.8.
package safetensors
