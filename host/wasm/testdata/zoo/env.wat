;; Imports a function that nobody offers.
;; Attacks: the check of imports.
(module
  (import "env" "system" (func $system (param i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32) (call $system (i32.const 0))))
