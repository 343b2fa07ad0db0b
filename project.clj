;; What `sparse` makes a topology's jar with. Nothing is fetched: storm-core is the local cluster's own, from its
;; assembly, and it stands in Leiningen's base profile in place of the additions (nREPL) that would be.
(defproject autotag "0.1.0"
  :resource-paths ["_resources"]
  :target-path "_build"
  :min-lein-version "2.0.0"
  :profiles {:base {:dependencies ^:replace [[org.apache.storm/storm-core "2.8.3"]]}}
  :local-repo "build/storm/m2"
  :offline? true
  ;; Python only: Storm's own classes are on the cluster.
  :jar-exclusions [#"META-INF" #"\.class$"]
  :uberjar-exclusions [#"META-INF" #"\.class$"])
