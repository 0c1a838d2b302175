# Runs the brokers of one cluster, and outlives the test process just long enough to clean up after it.
#
# arguments  the directory for temporary files, the directory of the jars, the broker's JVM flags
# answers    the cluster's directory first, then one line a command
# commands   format N [--standalone]   starts to format the storage of node N   -> process id
#            start N                   starts the broker of node N              -> process id
#            registry PORT             starts a schema registry                 -> process id
#            reap PID                  waits for the end of a process           -> exit status
#
# The end of the input means that the test process is gone: dropped the cluster, ended, or was killed. Only this
# shell starts java, and it knows the process id before it reads the next command, so no java is ever unknown. It
# hears nothing while it reaps, so that is asked when the end is near.

# Not stopped by Ctrl-C, by a closed terminal, by an answer nobody reads, or by the SIGHUP that the kernel sends to
# an orphaned process group with a stopped member. SIGTERM ends the reading, and so cleans up.
trap '' HUP INT PIPE
trap : TERM

dir=$(mktemp -d "$1/kafka-toolkit-XXXXXX") && cd "$dir" || exit 1
libs=$2
shift 2
# What a killed Java leaves behind (unpacked libraries, performance counters) goes with the directory, or is not made.
set -- "$@" -XX:-UsePerfData "-Djava.io.tmpdir=$dir" -Dlog4j2.configurationFile=log4j2.properties -cp "$libs/*"
printf '%s\n' "$dir"

running=
while read -r command argument option; do
    case $command in
    format)
        # $option is --standalone or nothing.
        java "$@" kafka.tools.StorageTool format -t kafkatoolkitharness00w $option \
            -c "node-$argument/server.properties" </dev/null >"node-$argument/broker.log" 2>&1 &
        running="$running $!"
        echo "$!"
        ;;
    start)
        java "$@" kafka.Kafka "node-$argument/server.properties" </dev/null >>"node-$argument/broker.log" 2>&1 &
        running="$running $!"
        echo "$!"
        ;;
    registry)
        # -jar takes the place of the class path.
        java "$@" -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$argument" \
            -jar "$libs"/apicurio-registry-app-*-runner.jar </dev/null >>registry.log 2>&1 &
        running="$running $!"
        echo "$!"
        ;;
    reap)
        wait "$argument"
        echo "$?"
        left=
        for pid in $running; do [ "$pid" = "$argument" ] || left="$left $pid"; done
        running=$left
        ;;
    esac
done

trap '' TERM
# SIGKILL, since a stopped broker hears nothing else.
[ -z "$running" ] || kill -9 $running
wait
cd ..
rm -rf "$dir"
