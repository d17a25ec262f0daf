package screen

import (
	"strings"
	"unicode/utf8"
)

// Column is one of a table. On a narrow screen a column that may shrink gives
// way down to Least characters; one that may also Drop goes entirely, the last
// first. A column with neither (an id) is always whole.
type Column struct {
	Title string
	Least int
	Drop  bool
	// Right aligns numbers.
	Right bool
	// End keeps the end of what is cut: an error says the most there.
	End bool
}

// Table writes rows in columns that fit the screen. Set Columns, Add rows, and
// Print; each Print writes the whole table.
type Table struct {
	Columns []Column
	rows    [][]Cell
}

// gap is what stands between two columns.
const gap = "  "

// Add takes one row: a cell for each column.
func (t *Table) Add(cells ...Cell) {
	for i := range cells {
		cells[i].text = Clean(cells[i].text)
	}
	t.rows = append(t.rows, cells)
}

// Print writes the titles and all rows.
func (t *Table) Print(s *Screen) {
	widths := t.fit(s.width)
	titles := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = Cell{c.Title, Bold}
	}
	for _, row := range append([][]Cell{titles}, t.rows...) {
		t.line(s, widths, row)
	}
}

func (t *Table) line(s *Screen, widths []int, row []Cell) {
	var b strings.Builder
	padding := ""
	for i, c := range row {
		if widths[i] == 0 {
			continue
		}
		text := cut(c.text, widths[i], t.Columns[i].End)
		if text == "" {
			padding += strings.Repeat(" ", widths[i]) + gap
			continue
		}
		space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
		b.WriteString(padding)
		if t.Columns[i].Right {
			b.WriteString(space)
			space = ""
		}
		b.WriteString(s.Paint(c.tone, text))
		// Held back, so that no line ends in spaces.
		padding = space + gap
	}
	s.Printf("%s\n", b.String())
}

// fit returns the width of each column, zero for one that is left out. A limit
// of zero is none.
func (t *Table) fit(limit int) []int {
	widths, least := t.natural()
	if limit <= 0 {
		return widths
	}
	for i := len(t.Columns) - 1; i >= 0 && total(least) > limit; i-- {
		if t.Columns[i].Drop {
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
func (t *Table) natural() (widths, least []int) {
	widths, least = make([]int, len(t.Columns)), make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = utf8.RuneCountInString(c.Title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
		least[i] = widths[i]
		if c.Least > 0 {
			least[i] = min(widths[i], c.Least)
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
