package queue

import (
	"cmp"
	"container/heap"
	"slices"
)

// deliveries is a heap by time.
type deliveries []*delivery

func (h deliveries) Len() int           { return len(h) }
func (h deliveries) Less(i, j int) bool { return h.before(h[i], h[j]) }

func (h deliveries) before(a, b *delivery) bool {
	if c := a.at.Compare(b.at); c != 0 {
		return c < 0
	}
	return byPlace(a, b) < 0
}

// byPlace orders deliveries by their place, those of one event by their walk.
func byPlace(a, b *delivery) int {
	if c := compare(a.pos, b.pos); c != 0 {
		return c
	}
	return cmp.Compare(a.number, b.number)
}

func (h deliveries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *deliveries) Push(x any) {
	d := x.(*delivery)
	d.index = len(*h)
	*h = append(*h, d)
}

// Pop implements [heap.Interface].
func (h *deliveries) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	d.index = -1
	return d
}

// unheap takes a delivery out of due. mu is held.
func (k *Sink) unheap(d *delivery) {
	if d.index >= 0 {
		heap.Remove(&k.due, d.index)
	}
}

// insertSorted puts d in its place among others.
func insertSorted(all []*delivery, d *delivery) []*delivery {
	i, _ := slices.BinarySearchFunc(all, d, byPlace)
	return slices.Insert(all, i, d)
}
