;; Keeps one bit in a table: the next call finds another function there.
;; Attacks: the refusal of instructions that change a table.
(module
  ;;common
  (type $digit (func (result i32)))
  (memory (export "memory") 1)
  (table 2 funcref)
  (elem (i32.const 0) $first $second)
  (func $first (type $digit) (i32.const 49))
  (func $second (type $digit) (i32.const 50))
  (func $attack (param $left i64) (result i32)
    (i32.store8 (i32.const 256) (call_indirect (type $digit) (i32.const 0)))
    (table.set 0 (i32.const 0) (table.get 0 (i32.const 1)))
    (call $answer (i32.const 256) (i32.const 1))))
