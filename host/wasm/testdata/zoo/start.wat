;; Loops without end in its start function.
;; Attacks: fuel of the start.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32) (i32.const 4))
  (func $start (loop $again (br $again)))
  (start $start))
