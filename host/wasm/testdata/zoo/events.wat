;; Begins 1,001 events and accepts with all of them.
;; Attacks: the limit of events.
(module
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "set" (func $set (param i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "zoo.seen")
  (func $attack (param $left i64) (result i32)
    (local $n i32)
    (drop (call $token (i32.const 0) (i32.const 3)))
    (loop $again
      (drop (call $event (i32.const 0)))
      (drop (call $set (i32.const 1) (i32.const 512) (i32.const 8)))
      (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1001))))
    (i32.const 1)))
