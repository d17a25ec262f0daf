;; Calls itself with 2,000 values alive across the call: a frame of 16 KiB for the
;; price of one function entry.
;; Attacks: the bound of the stack; what a frame holds is paid by what makes it.
(module
  ;;common
  (memory (export "memory") 1)
  (func $down (param $left i64) (result i64)
    ;;repeat 2000 (local $v%i i64)
    (if (i64.eq (local.get $left) (i64.const 1)) (then (return (i64.const 0))))
    ;;repeat 2000 (local.set $v%i (i64.mul (local.get $left) (i64.const %n)))
    (call $down (i64.sub (local.get $left) (i64.const 1)))
    ;;repeat 2000 (i64.add (local.get $v%i))
  )
  (func $attack (param $left i64) (result i32)
    (drop (call $down (local.get $left)))
    (i32.const 4)))
