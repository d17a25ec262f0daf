;; Divides by zero in its start function.
;; Attacks: what cannot start is not loaded.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32) (i32.const 4))
  (func $start (drop (i32.div_u (i32.const 1) (i32.load (i32.const 256)))))
  (start $start))
