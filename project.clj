;; Leiningen's project file, with which `sparse` makes the jar of a topology. Nothing is fetched: storm-core comes from the
;; local cluster's installation, in Leiningen's base profile, where it replaces the usual additions (nREPL).
(defproject autotag "0.1.0"
  :resource-paths ["_resources"]
  :target-path "_build"
  :min-lein-version "2.0.0"
  :profiles {:base {:dependencies ^:replace [[org.apache.storm/storm-core "2.8.3"]]}}
  :local-repo "build/storm/m2"
  :offline? true
  ;; The jar has Python only: Storm's own classes are on the cluster.
  :jar-exclusions [#"META-INF" #"\.class$"]
  :uberjar-exclusions [#"META-INF" #"\.class$"])
