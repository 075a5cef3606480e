# SPDX-License-Identifier: BSL-1.0

# The work of runnel's benchmarks of tasks and supervisors, in Elixir. Compiled, and run as
#
#     elixir --erl "+S THREADS:THREADS" -pa DIR -e "Peer.main(System.argv())" -- ROW THREADS REPETITIONS [SCALE]
#
# prints a line of JSON for each repetition of the row. SCALE (1 unless given) multiplies the sizes.
# docs/benchmarks.md says what each row is.
defmodule Peer do
  def main([row, threads, repetitions | rest]) do
    scale = rest |> List.first("1") |> Float.parse() |> elem(0)
    # Else every child that fails writes a report, which would be most of the time.
    :logger.set_primary_config(:level, :none)

    for _ <- 1..String.to_integer(repetitions) do
      start = System.monotonic_time(:nanosecond)
      n = run(row, scale)
      value = (System.monotonic_time(:nanosecond) - start) / n
      IO.puts(~s({"row": "#{row}", "peer": "elixir", "threads": #{threads}, "value": #{value}, "unit": "ns"}))
    end
  end

  defp scaled(n, scale), do: max(1, round(n * scale))

  # Each says how many operations it has done.

  defp run("T1", scale) do
    n = scaled(200_000, scale)
    check(one_after_the_other(n, 0), div(n * (n - 1), 2))
    n
  end

  defp run("T1b", scale) do
    n = scaled(2_000, scale)

    for _ <- 1..n do
      tasks = for k <- 0..99, do: Task.async(fn -> k end)
      check(tasks |> Task.await_many() |> Enum.sum(), 4950)
    end

    n * 100
  end

  defp run("T2", scale), do: stream(scaled(200_000, scale), true)
  defp run("T2b", scale), do: stream(scaled(200_000, scale), false)

  defp run("14", scale) do
    n = scaled(200_000, scale)
    {:ok, sup} = Task.Supervisor.start_link()
    nothing = fn -> :ok end
    for _ <- 1..n, do: {:ok, _} = Task.Supervisor.start_child(sup, nothing)
    Supervisor.stop(sup)
    n
  end

  defp run("14t", scale) do
    n = scaled(200_000, scale)
    {:ok, sup} = Task.Supervisor.start_link()
    for i <- 1..n, do: ^i = Task.await(Task.Supervisor.async_nolink(sup, fn -> i end))
    Supervisor.stop(sup)
    n
  end

  defp run("14r", scale), do: restarts(scaled(200_000, scale), fn -> raise "again" end)
  defp run("14n", scale), do: restarts(scaled(200_000, scale), fn -> :ok end)

  defp one_after_the_other(0, sum), do: sum

  defp one_after_the_other(i, sum) do
    task = Task.async(fn -> i - 1 end)
    one_after_the_other(i - 1, sum + Task.await(task))
  end

  defp stream(n, ordered) do
    sum =
      0..(n - 1)
      |> Task.async_stream(& &1, max_concurrency: 8, ordered: ordered)
      |> Enum.reduce(0, fn {:ok, value}, sum -> sum + value end)

    check(sum, div(n * (n - 1), 2))
    n
  end

  # A supervisor remembers each restart of its period in a list that it walks at each further one, so that many of them
  # would be slower than a few: there is a new supervisor for each hundred.
  @each 100
  defp restarts(n, ending) do
    rounds = max(1, div(n, @each))
    for _ <- 1..rounds, do: restart(ending)
    rounds * @each
  end

  defp restart(ending) do
    starts = :counters.new(1, [])
    parent = self()
    token = make_ref()

    child = fn ->
      :counters.add(starts, 1, 1)

      if :counters.get(starts, 1) > @each do
        send(parent, token)
        Process.sleep(:infinity)
      end

      ending.()
    end

    spec = %{id: :x, start: {Task, :start_link, [child]}, restart: :permanent, shutdown: :brutal_kill}
    options = [strategy: :one_for_one, max_restarts: 1_000_000, max_seconds: 1]
    {:ok, sup} = Supervisor.start_link([spec], options)

    receive do
      ^token -> :ok
    end

    Supervisor.stop(sup)
  end

  defp check(same, same), do: :ok
  defp check(found, expected), do: raise("#{found} instead of #{expected}")
end
