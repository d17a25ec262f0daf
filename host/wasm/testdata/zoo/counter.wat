;; Counts its calls in its memory and answers with the count.
;; Attacks: the memory of the next call is the snapshot's.
(module
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 60000) "0")
  (func $attack (param $left i64) (result i32)
    (i32.store8 (i32.const 60000) (i32.add (i32.load8_u (i32.const 60000)) (i32.const 1)))
    (call $answer (i32.const 60000) (i32.const 1))))
