;; A function of 40,000 instructions without a branch, called in a loop: what
;; runs between two charges is as long as the guest likes.
;; Attacks: fuel by the length of straight code.
(module
  ;;common
  (memory (export "memory") 1)
  (func $long (param i64) (result i64)
    ;;repeat 10000 (local.set 0 (i64.rotl (local.get 0) (i64.const 3)))
    (local.get 0))
  (func $attack (param $left i64) (result i32)
    (loop $again
      (drop (call $long (local.get $left)))
      ;;again
    )
    (i32.const 4)))
