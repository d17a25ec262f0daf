//go:build poison

package intake

const poisoned = true
