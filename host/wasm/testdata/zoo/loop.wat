;; Loops without end and without a call.
;; Attacks: fuel at loop heads.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (loop $again
      ;;again
    )
    (i32.const 4)))
