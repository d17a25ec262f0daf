;; Exports its memory under two names.
;; Attacks: the check of exports.
(module
  ;;common
  (memory (export "memory") (export "other") 1)
  (func $attack (param $left i64) (result i32) (i32.const 4)))
