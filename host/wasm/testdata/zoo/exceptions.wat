;; Throws and catches without end.
;; Attacks: the refusal of exceptions.
(module
  ;;common
  (memory (export "memory") 1)
  (tag $thrown)
  (func $attack (param $left i64) (result i32)
    (loop $again
      try
        throw $thrown
      catch $thrown
        br $again
      end)
    (i32.const 4)))
