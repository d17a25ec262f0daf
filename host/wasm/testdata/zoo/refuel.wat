;;unchecked
;; Names globals that it does not have, where the meter's would come to stand,
;; and fills them: no module by itself, one once the meter added its own.
;; Attacks: what is metered was validated before.
(module
  ;;common
  (memory (export "memory") 1)
  (global $own (mut i64) (i64.const 0))
  (func $attack (param $left i64) (result i32)
    (loop $again
      (global.set 1 (i64.const 0x7fffffffffffffff))
      ;;again
    )
    (i32.const 4)))
