package graph

// Kept reports whether the values of an evaluation are there for a product.
func (f *Field[T]) Kept(index int) bool {
	return index < len(f.memories) && f.memories[index] != nil && f.memories[index].ready
}
