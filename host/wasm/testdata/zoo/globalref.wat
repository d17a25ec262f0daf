;; Keeps one bit in a global that holds a reference.
;; Attacks: the globals of the next call are the snapshot's.
(module
  ;;common
  (memory (export "memory") 1)
  (elem declare func $attack)
  (global $f (mut funcref) (ref.null func))
  (func $attack (param $left i64) (result i32)
    (i32.store8 (i32.const 256) (select (i32.const 49) (i32.const 50) (ref.is_null (global.get $f))))
    (global.set $f (ref.func $attack))
    (call $answer (i32.const 256) (i32.const 1))))
