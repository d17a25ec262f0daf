;; Gives a component of the dedup key that is no UTF-8, passes over the code and
;; accepts: the event would be stored under a shorter key.
;; Attacks: a refused component refuses the event.
(module
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "set" (func $set (param i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "zoo.seen\ff")
  (func $attack (param $left i64) (result i32)
    (drop (call $event (call $token (i32.const 0) (i32.const 3))))
    (drop (call $set (i32.const 1) (i32.const 512) (i32.const 8)))
    (drop (call $set (i32.const 4) (i32.const 512) (i32.const 8)))
    (drop (call $set (i32.const 4) (i32.const 512) (i32.const 9)))
    (i32.const 1)))
