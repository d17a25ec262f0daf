package view

import (
	"strings"
	"testing"
)

// payment is the callback of 500 bytes that the measurements of a call judge;
// looked is what their guests ask of it.
var (
	payment = []byte(`{"id":"pay_01JD8Q4ZK9","status":"paid","paid_at":"2026-11-20T10:15:30Z","amount":{"value":"86.000","currency":"KWD"},` +
		`"order":{"reference":"A-10442","items":[{"sku":"TKT-1","quantity":2},{"sku":"TKT-7","quantity":1}]},"method":"card",` +
		`"customer":{"name":"Example Person","email":"someone@shop.example","phone":"+96500000000"},"attempt":1,"live":true,"note":"` + strings.Repeat("x", 142) + `"}`)
	looked = [][]byte{
		[]byte("/id"), []byte("/status"), []byte("/paid_at"), []byte("/amount/value"), []byte("/amount/currency"),
		[]byte("/order/reference"), []byte("/method"), []byte("/order/items/1/quantity"), []byte("/nothing"),
	}
)

func BenchmarkPayment(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		v, err := JSON(payment)
		if err != nil {
			b.Fatal(err)
		}
		v.Release()
	}
}

// BenchmarkLookups asks for all of looked, as the host does: the path is checked first.
func BenchmarkLookups(b *testing.B) {
	v, err := JSON(payment)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, path := range looked {
			if !IsPointer(path) {
				b.Fatal("no pointer")
			}
			v.Text(path)
		}
	}
}

// BenchmarkArabic is text that is not ASCII, and names that are.
func BenchmarkArabic(b *testing.B) {
	doc := []byte(`{"name":"محمد عبد الله الأحمد","city":"الكويت","note":"تم الدفع بنجاح عن طريق البطاقة","id":"pay_01JD8Q4ZK9","text":"zażółć gęślą jaźń"}`)
	b.ReportAllocs()
	for b.Loop() {
		v, err := JSON(doc)
		if err != nil {
			b.Fatal(err)
		}
		v.Release()
	}
}
