package cli

import (
	"strings"
	"unicode/utf8"
)

// column is one of a table. On a narrow screen a column that may shrink gives
// way down to least characters; one that may also drop goes entirely, the last
// first. A column with neither (an id) is always whole.
type column struct {
	title string
	least int
	drop  bool
	// right aligns numbers.
	right bool
	// end keeps the end of what is cut: an error says the most there.
	end bool
}

// cell is a text and what its colour says.
type cell struct {
	text string
	tone tone
}

// table writes rows in columns that fit the screen.
type table struct {
	columns []column
	rows    [][]cell
}

// gap is what stands between two columns.
const gap = "  "

func (t *table) add(cells ...cell) {
	for i := range cells {
		cells[i].text = clean(cells[i].text)
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(s *screen) {
	widths := t.fit(s.width)
	titles := make([]cell, len(t.columns))
	for i, c := range t.columns {
		titles[i] = cell{c.title, bold}
	}
	for _, row := range append([][]cell{titles}, t.rows...) {
		t.line(s, widths, row)
	}
}

func (t *table) line(s *screen, widths []int, row []cell) {
	var b strings.Builder
	padding := ""
	for i, c := range row {
		if widths[i] == 0 {
			continue
		}
		text := cut(c.text, widths[i], t.columns[i].end)
		if text == "" {
			padding += strings.Repeat(" ", widths[i]) + gap
			continue
		}
		space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
		b.WriteString(padding)
		if t.columns[i].right {
			b.WriteString(space)
			space = ""
		}
		b.WriteString(s.paint(c.tone, text))
		// Held back, so that no line ends in spaces.
		padding = space + gap
	}
	s.printf("%s\n", b.String())
}

// fit returns the width of each column, zero for one that is left out. A limit
// of zero is none.
func (t *table) fit(limit int) []int {
	widths, least := t.natural()
	if limit <= 0 {
		return widths
	}
	for i := len(t.columns) - 1; i >= 0 && total(least) > limit; i-- {
		if t.columns[i].drop {
			widths[i], least[i] = 0, 0
		}
	}
	for total(widths) > limit {
		widest := -1
		for i := range widths {
			if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// natural returns the width that each column wants, and the least it can do
// with.
func (t *table) natural() (widths, least []int) {
	widths, least = make([]int, len(t.columns)), make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = utf8.RuneCountInString(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
		least[i] = widths[i]
		if c.least > 0 {
			least[i] = min(widths[i], c.least)
		}
	}
	return widths, least
}

func total(widths []int) int {
	sum := 0
	for _, w := range widths {
		if w > 0 {
			sum += w + len(gap)
		}
	}
	return sum - len(gap)
}

// cut shortens text to n characters, an ellipsis in the place of its end, or of
// its beginning.
func cut(text string, n int, keepEnd bool) string {
	runes := []rune(text)
	switch {
	case len(runes) <= n:
		return text
	case keepEnd:
		return "…" + string(runes[len(runes)-n+1:])
	}
	return string(runes[:n-1]) + "…"
}
