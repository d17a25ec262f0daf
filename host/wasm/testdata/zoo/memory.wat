;; Wants more memory than the cap, from the start.
;; Attacks: the cap of the memory.
(module
  ;;common
  (memory (export "memory") 257)
  (func $attack (param $left i64) (result i32) (i32.const 4)))
