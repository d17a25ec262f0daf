;; Calls itself with 1,000 values on its operand stack and not one local: what is
;; alive across a call is no matter of locals.
;; Attacks: the bound of the stack; what a frame holds is paid by what makes it.
(module
  ;;common
  (memory (export "memory") 1)
  (func $down (param $left i64) (result i64)
    (if (i64.eq (local.get $left) (i64.const 1)) (then (return (i64.const 0))))
    ;;repeat 1000 (i64.mul (local.get $left) (i64.const %n))
    (call $down (i64.sub (local.get $left) (i64.const 1)))
    ;;repeat 1000 i64.add
  )
  (func $attack (param $left i64) (result i32)
    (drop (call $down (local.get $left)))
    (i32.const 4)))
