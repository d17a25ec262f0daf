;; Sets every field, a detail, a log line and an answer's type to bytes that are
;; no UTF-8, and accepts. It begins one event and says its type rightly.
;; Attacks: no text of a result is invalid.
(module
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "set" (func $set (param i32 i32 i32) (result i32)))
  (import "postern1" "reason" (func $reason (param i32 i32 i32) (result i32)))
  (import "postern1" "log" (func $log (param i32 i32 i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "zoo.seen")
  (data (i32.const 600) "\22\ff\c0\80\ed\a0\80\f5\80\80\80\22")
  (func $attack (param $left i64) (result i32)
    (local $field i32)
    (drop (call $event (call $token (i32.const 0) (i32.const 3))))
    (loop $again
      (if (i32.ne (local.get $field) (i32.const 4))
        (then (drop (call $set (local.get $field) (i32.const 600) (i32.const 12)))))
      (br_if $again (i32.lt_u (local.tee $field (i32.add (local.get $field) (i32.const 1))) (i32.const 64))))
    (drop (call $set (i32.const 1) (i32.const 512) (i32.const 8)))
    (drop (call $reason (i32.const 2) (i32.const 600) (i32.const 12)))
    (call $log (i32.const 0) (i32.const 600) (i32.const 12))
    (drop (call $ack (i32.const 200) (i32.const 600) (i32.const 12) (i32.const 600) (i32.const 12)))
    (i32.const 1)))
