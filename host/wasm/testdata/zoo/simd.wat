;; A loop of vector instructions: they are taken, and metered like others.
;; Attacks: fuel at loop heads.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (local $v v128)
    (loop $again
      (local.set $v (i8x16.shuffle 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0
        (i32x4.mul (local.get $v) (v128.const i32x4 3 5 7 9))
        (i64x2.add (local.get $v) (i64x2.splat (local.get $left)))))
      (v128.store (i32.const 256) (f64x2.sqrt (local.get $v)))
      ;;again
    )
    (i32.const 4)))
