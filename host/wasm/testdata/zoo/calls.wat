;; 45 functions, each calling the next twice: 2^45 calls without one loop.
;; Attacks: fuel at function entries.
(module
  ;;common
  (memory (export "memory") 1)
  ;;repeat 45 (func $f%i (param i64) (if (i64.ne (local.get 0) (i64.const 1)) (then (call $f%n (i64.shr_u (local.get 0) (i64.const 1))) (call $f%n (i64.shr_u (local.get 0) (i64.const 1))))))
  (func $f45 (param i64))
  (func $attack (param $left i64) (result i32)
    (call $f0 (local.get $left))
    (i32.const 4)))
