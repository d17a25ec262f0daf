;; Loops by tail calls: neither a loop nor a stack that grows.
;; Attacks: the refusal of tail calls.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (if (i64.eq (local.get $left) (i64.const 1)) (then (return (i32.const 4))))
    (return_call $attack (i64.sub (local.get $left) (i64.const 1)))))
