;; Enters postern_handle from within, the only way there is: by calling it. No
;; host function takes a function or calls one, whatever a guest exports.
;; Attacks: one callback is judged by one call.
(module
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (table (export "postern1") 2 funcref)
  (elem (i32.const 0) $handle $attack)
  (func (export "read") (param i32 i32 i32 i32) (result i32) (call $handle))
  (func (export "event_begin") (param i32) (result i32) (call $handle))
  (func $attack (param $left i64) (result i32)
    (if (i32.load8_u (i32.const 256)) (then (return (call $answer (i32.const 256) (i32.const 1)))))
    (i32.store8 (i32.const 256) (i32.const 49))
    (drop (call $event (i32.const -1)))
    (call $handle)))
