;; A segment that begins inside the memory and ends outside.
;; Attacks: the engine's check of segments; what cannot start is not loaded.
(module
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 0xfffe) "123")
  (func $attack (param $left i64) (result i32) (i32.const 4)))
