;; Uses atomic instructions on a memory that is not shared.
;; Attacks: the refusal of threads.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (i32.atomic.store (i32.const 256) (i32.const 49))
    (call $answer (i32.const 256) (i32.const 1))))
