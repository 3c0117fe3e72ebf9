<#
.SYNOPSIS
    Excludes the folder of a WSL distribution's virtual disk from Microsoft Defender's scans, or undoes that.

.DESCRIPTION
    Model weights are read from the distribution's virtual disk (ext4.vhdx); scanning it on every
    access makes cold starts slow. Defender does not protect an excluded folder, so only the folder of
    the virtual disk is excluded; -Remove undoes it. Run this in an elevated PowerShell on Windows.

.PARAMETER Distro
    The distribution's name, as shown by `wsl --list`. By default the default distribution.

.PARAMETER Path
    The folder that contains ext4.vhdx. Needed if this account's registry does not know it, because the
    elevated shell belongs to another account or the disk was attached with `wsl --mount`.

.PARAMETER Remove
    Remove the exclusion instead of adding it.

.EXAMPLE
    .\defender-exclusion.ps1 -Distro Ubuntu-24.04

.EXAMPLE
    .\defender-exclusion.ps1 -Path D:\wsl\llm -Remove
#>
[CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'Distro')]
param(
    [Parameter(ParameterSetName = 'Distro')]
    [string]$Distro,

    [Parameter(ParameterSetName = 'Path', Mandatory = $true)]
    [string]$Path,

    [switch]$Remove
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

function Get-DistroFolder([string]$Name) {
    $root = 'HKCU:\Software\Microsoft\Windows\CurrentVersion\Lxss'
    if (-not (Test-Path -LiteralPath $root)) {
        throw 'This account has no WSL distribution. Name the folder of the virtual disk: -Path D:\wsl\llm'
    }
    # Not every key here is a distribution. GetValue returns $null for a missing value; reading a missing
    # property would be an error.
    if ($Name) {
        $keys = @(Get-ChildItem -LiteralPath $root | Where-Object { $_.GetValue('DistributionName') -eq $Name })
        if ($keys.Count -ne 1) {
            throw "No WSL distribution is called '$Name'. 'wsl --list' shows their names."
        }
        $key = $keys[0]
    }
    else {
        $default = (Get-Item -LiteralPath $root).GetValue('DefaultDistribution')
        if (-not $default) {
            throw "There is no default WSL distribution. Name one with -Distro ('wsl --list' shows their names)."
        }
        $key = Get-Item -LiteralPath (Join-Path $root $default)
    }
    # The registry writes long paths as \\?\C:\...
    return $key.GetValue('BasePath') -replace '^\\\\\?\\', ''
}

$identity = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    throw 'Changing exclusions needs an elevated PowerShell: right-click, Run as administrator.'
}

if ($PSCmdlet.ParameterSetName -eq 'Path') {
    # Defender needs an absolute path. The folder need not exist any more when an exclusion is removed.
    $folder = $PSCmdlet.GetUnresolvedProviderPathFromPSPath($Path)
}
else {
    $folder = Get-DistroFolder $Distro
}
$folder = $folder.TrimEnd('\')

if ($folder -match '^[A-Za-z]:$') {
    throw "'$folder' is a whole drive. Exclude only the folder of the virtual disk."
}
if (-not $Remove -and -not (Get-ChildItem -LiteralPath $folder -Filter '*.vhdx' -ErrorAction SilentlyContinue)) {
    throw "'$folder' contains no .vhdx file, so it is not the folder of a WSL disk."
}

$excluded = @((Get-MpPreference).ExclusionPath) -contains $folder
if ($Remove) {
    if (-not $excluded) {
        Write-Output "Not excluded: $folder"
    }
    elseif ($PSCmdlet.ShouldProcess($folder, 'Remove the Defender exclusion')) {
        Remove-MpPreference -ExclusionPath $folder
        Write-Output "No longer excluded: $folder"
    }
}
elseif ($excluded) {
    Write-Output "Already excluded: $folder"
}
elseif ($PSCmdlet.ShouldProcess($folder, 'Add a Defender exclusion')) {
    Add-MpPreference -ExclusionPath $folder
    Write-Output "Excluded: $folder (undo with -Remove)"
}
