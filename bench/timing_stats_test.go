package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// paired is the difference of two series, sample by sample.
func paired(a, b []int64) []int64 {
	diff := make([]int64, len(a))
	for i := range a {
		diff[i] = a[i] - b[i]
	}
	return diff
}

// signTest is the two-sided probability of so uneven a split between positive
// and negative differences if either were as likely, by the normal
// approximation with continuity correction, fit for hundreds of differences
// and more. Ties do not count.
func signTest(diff []int64) (plus, minus int, p float64) {
	for _, d := range diff {
		switch {
		case d > 0:
			plus++
		case d < 0:
			minus++
		}
	}
	n := float64(plus + minus)
	z := max(0, math.Abs(float64(plus-minus))-1) / math.Sqrt(n)
	return plus, minus, math.Erfc(z / math.Sqrt2)
}

// bootstrap is the mean of the middle 80% of the differences and its 99%
// percentile interval.
func bootstrap(diff []int64, rnd *rand.Rand) (mean, low, high float64) {
	sorted := slices.Sorted(slices.Values(diff))
	ones := make([]int32, len(sorted))
	for i := range ones {
		ones[i] = 1
	}
	means := make([]float64, resamples)
	for r := range means {
		counts := make([]int32, len(sorted))
		for range sorted {
			counts[rnd.IntN(len(sorted))]++
		}
		means[r] = trimmedMean(sorted, counts)
	}
	slices.Sort(means)
	return trimmedMean(sorted, ones), means[resamples/200], means[resamples-1-resamples/200]
}

// trimmedMean leaves out the lowest and the highest tenth of a sample that has
// each of the sorted values as often as counts says.
func trimmedMean(sorted []int64, counts []int32) float64 {
	skip := len(sorted) / 10
	take := len(sorted) - 2*skip
	sum, taken := 0.0, 0
	for i, n := range counts {
		drop := min(skip, int(n))
		skip -= drop
		use := min(int(n)-drop, take-taken)
		sum += float64(use) * float64(sorted[i])
		if taken += use; taken == take {
			break
		}
	}
	return sum / float64(take)
}

// quantiles of a series.
func quantiles(series []int64, at ...float64) []float64 {
	sorted := slices.Sorted(slices.Values(series))
	out := make([]float64, len(at))
	for i, q := range at {
		out[i] = float64(sorted[int(q*float64(len(sorted)-1))])
	}
	return out
}

// TestTiming_statistics checks the statistics of the timing measurement: a
// difference is found, its size is in the interval, and none is found where
// there is none.
func TestTiming_statistics(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := func(shift float64) []int64 {
		out := make([]int64, 20_000)
		for i := range out {
			// A heavy tail, as that of times.
			out[i] = int64(50_000 + shift + 1000*rnd.NormFloat64() + 1000*rnd.ExpFloat64()*rnd.ExpFloat64())
		}
		return out
	}
	same := paired(noise(0), noise(0))
	if _, _, p := signTest(same); p < significant {
		t.Errorf("two samples of one distribution: p = %g", p)
	}
	if _, low, high := bootstrap(same, rnd); low > 0 || high < 0 {
		t.Errorf("two samples of one distribution differ by %.0f to %.0f", low, high)
	}
	other := paired(noise(100), noise(0))
	if _, _, p := signTest(other); p > significant {
		t.Errorf("100 ns between two samples: p = %g", p)
	}
	if mean, low, high := bootstrap(other, rnd); low < 0 || high < 100 || low > 100 || mean < low || mean > high {
		t.Errorf("100 ns between two samples: %.0f, %.0f to %.0f", mean, low, high)
	}
	// 60 of 100 against 40: 2 × P(X ≥ 60) = 0.0569 for a fair coin.
	diff := slices.Concat(slices.Repeat([]int64{1}, 60), slices.Repeat([]int64{-1}, 40), slices.Repeat([]int64{0}, 7))
	if plus, minus, p := signTest(diff); plus != 60 || minus != 40 || math.Abs(p-0.0569) > 0.002 {
		t.Errorf("60 against 40: %d, %d, p = %g", plus, minus, p)
	}
	if mean := trimmedMean([]int64{-1000, 1, 2, 3, 4, 5, 6, 7, 8, 1000}, []int32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}); mean != 4.5 {
		t.Errorf("trimmed mean %g, want 4.5", mean)
	}
}
