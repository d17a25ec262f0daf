;; Drops a segment of functions, which no snapshot holds.
;; Attacks: the refusal of instructions that change what no snapshot holds.
(module
  ;;common
  (memory (export "memory") 1)
  (table 1 funcref)
  (elem $segment func $attack)
  (data (i32.const 256) "1")
  (func $attack (param $left i64) (result i32)
    (elem.drop $segment)
    (call $answer (i32.const 256) (i32.const 1))))
