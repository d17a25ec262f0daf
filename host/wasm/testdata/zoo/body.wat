;; Has the host parse the body as JSON and as a form, and answers with the codes.
;; A test makes the body a bomb.
;; Attacks: the limits of a view.
(module
  (import "postern1" "view" (func $view (param i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (i32.store8 (i32.const 256) (call $view (i32.const 1) (i32.const 0)))
    (i32.store8 (i32.const 257) (call $view (i32.const 2) (i32.const 0)))
    (call $answer (i32.const 256) (i32.const 2))))
